"""Other people's models behind our `Encoder`; each library is imported when a model of its kind is loaded."""
