"""Hugging Face Spaces, one folder each."""

if __name__ == "spaces":
    # Gradio looks for the Hub's own package of this name. Started in this folder's parent it would find us.
    raise ImportError("not the package `spaces` of the Hub: expected that one to be installed")
