"""Opens a stored version with the library that it needs, torch or onnxruntime; imports no other."""
