"""Text → ids, exactly those of the ``transformers`` fast tokenizer.

::

    prepare ──▶ conformance ──▶ exact
    once a       once a tokenizer   every batch: the fast engine, where it is known to agree;
    tokenizer    and engine         the reference tokenizer elsewhere, and as a judge of samples
"""
