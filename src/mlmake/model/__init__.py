"""The words of the product as frozen data: what a project says, what a run was, why a step is stale."""
