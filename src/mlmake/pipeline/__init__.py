"""What `azureml.pipeline` has."""
