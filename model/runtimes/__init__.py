"""Opens a stored version with the library that it needs, torch or onnxruntime; imports no other.

version, detector = Runtimes(device="cpu", threads=4).open(Path("weights/solar/3"))
"""
