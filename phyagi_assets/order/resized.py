"""The plan of a mixture for another length of samples."""

from dataclasses import replace

from phyagi_assets.declare.schema import LONGEST_SAMPLE, MixturePart
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import Plan, PlannedCorpus
from phyagi_assets.order.planning import first_plan
from phyagi_assets.store.fingerprint import text_digest


def resized(plan: Plan, seq_len: int) -> Plan:
    """Return a plan of the caches and weights of the last segment of a plan, with samples of another length.

    Parameters
    ----------
    plan
        The plan.
    seq_len
        Tokens per sample.

    Returns
    -------
    Plan
        A plan of one segment. Its fingerprint and its order depend on the given plan and the length alone.

    Raises
    ------
    ValueError
        A corpus has too few training tokens for one sample of this length, or the length is out of range.
    StoreError
        The plan was written by a release whose samples did not cross partitions, so that it does not name a padding id.
    """
    if not 1 <= seq_len <= LONGEST_SAMPLE:
        raise ValueError(f"seq_len: {seq_len:,} is not a length of samples; it is from 1 to {LONGEST_SAMPLE:,}")
    if plan.pad_id is None:
        raise StoreError(
            f"mixture {plan.name!r}: its plan was written by an earlier release; materialize it anew to read it in another length"
        )
    sources = plan.current.sources
    corpora = tuple(PlannedCorpus(name=plan.corpora[of.corpus].name, partitions=tuple(plan.partitions(of))) for of in sources)
    for corpus, source in zip(corpora, sources, strict=True):
        tokens = plan.total("train", "tokens", source)
        if tokens <= seq_len:
            raise ValueError(
                f"seq_len: corpus {corpus.name!r} of mixture {plan.name!r} has {tokens:,} training tokens, and one sample takes "
                f"seq_len + 1 = {seq_len + 1:,}"
            )
    parts = [MixturePart(corpus=corpus.name, weight=of.weight, share=of.share) for corpus, of in zip(corpora, sources, strict=True)]
    fingerprint = text_digest(f"{plan.fingerprint}/{seq_len}")
    return first_plan(replace(plan, fingerprint=fingerprint, seq_len=seq_len, corpora=corpora, segments=(), ancestors=()), parts)
