"""Runs beside the training: explanations, figures and reports in MLflow, TensorBoard and Weights & Biases."""
