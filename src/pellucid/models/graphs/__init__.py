"""Files in the ONNX format, read before onnxruntime gets them: weights in other files become part of the graph.

onnxruntime would open whatever path a graph states. Here each is a plain name, the caller finds the file, and what
onnxruntime gets refers to nothing.
"""
