"""From any photograph to a generator's input: where the face is, EG3D's crop of it, and the camera that saw it."""
