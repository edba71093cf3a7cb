"""Encoders as ONNX graphs: written node by node, and run by onnxruntime."""
