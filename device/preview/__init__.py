"""The preview: a page with the camera's picture and the exits that frames leave at, and switches for an attack and DefQ."""
