"""The host: answers frames that did not exit on a device, over the Open Inference Protocol v2."""
