"""One RBF One-Class SVM per (device, sensor): fit, export to one bank, register with a parity check.

scikit-learn and onnx are imported inside functions, so a process that only waits for work stays small.
"""
