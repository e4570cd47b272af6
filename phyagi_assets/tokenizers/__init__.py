"""Encoding of text to exactly the ids of the ``transformers`` fast tokenizer.

::

    prepare ──▶ conformance ──▶ exact
    once per     once per           every batch: the fast engine for text on which it is known to agree;
    tokenizer    tokenizer and      the reference engine for all other text, and to verify samples
                 engine
"""
