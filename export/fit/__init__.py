"""defq fit: from a folder of photographs to a defended bundle, in steps that can be stopped and repeated."""
