"""The service: loaded models, engines, the OpenAI API."""
