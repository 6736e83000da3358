"""OpenEuroLLM: from web pages to a released language model, in every European language."""

__version__ = "0.1.0"
