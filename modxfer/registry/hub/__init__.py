"""The Hub, through `huggingface_hub` and its cache: one way in and one way out, and one table of what can fail.

Everything that modxfer asks of the Hub goes through `calls.call`, which tries again where that can help and turns what fails
into errors that say what to do.
"""
