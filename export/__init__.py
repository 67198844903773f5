"""G for use without Paddle: as an ONNX model, and as a page for the browser."""
