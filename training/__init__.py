"""Model training: window features in, scikit-learn models and ONNX graphs out.

May import models only. Never runs inside the function app.
"""
