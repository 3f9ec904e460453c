"""Publishing and pulling back."""
