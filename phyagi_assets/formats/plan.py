"""``mixture.json``: the plan of a mixture, with everything that training code needs to read the mixture.

The pipeline writes plans and `phyagi_assets.datasets` reads them, so this module imports neither.
`phyagi_assets.formats.plan_file` reads the file into these types and checks it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from phyagi_assets.formats.pieces import piece_path
from phyagi_assets.formats.plan_formats import FORMAT, WINDOWED_FORMAT, record_of

PLAN = "mixture.json"
STEP = "mixed_dataset"
"""Name of the step whose artifacts are plans."""

Concat = Literal["interleaved", "sequential"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A shuffle within a window, which keeps samples that are close in the token arrays close in the order."""

    window: int
    """Size of the window, in bytes of tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPiece:
    """One piece of a token array that is stored in several files; see `phyagi_assets.formats.pieces`."""

    number: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One token array."""

    path: str
    """Path of the ``.npy`` file, relative to the folder of the plan. If the array is in pieces, see `files`."""
    tokens: int
    documents: int
    trained: int | None = None
    """Number of tokens that are trained on, according to the mask; None without a mask, if all tokens are trained on."""
    pieces: tuple[PlannedPiece, ...] = ()
    """Pieces of the array, in order; empty if it is one file."""

    @property
    def files(self) -> Sequence[tuple[str, int]]:
        """Paths of the files of the array, relative to the folder of the plan, and the number of tokens in each."""
        if not self.pieces:
            return [(self.path, self.tokens)]
        return [(piece_path(self.path, piece.number), piece.tokens) for piece in self.pieces]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedIndex:
    """The index of the packed samples of a partition, in the version that the plan was made from."""

    path: str
    """Path of the folder of the index, relative to the folder of the plan."""
    fingerprint: str
    samples: Mapping[str, int]
    """Number of samples by split."""
    merged: bool
    """Whether a part of a sample can hold several documents, because the documents are very short."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPartition:
    """The cache of one partition, in the version that the plan was made from."""

    key: str
    fingerprint: str
    shards: Mapping[str, Shard]
    """Token arrays by split."""
    index: PlannedIndex | None = None
    """Index of its packed samples; None if no segment packs them."""

    @property
    def version(self) -> tuple[str, str, str]:
        """Key of the partition, and the fingerprints of its cache and of its index, which together determine its samples."""
        return self.key, self.fingerprint, self.index.fingerprint if self.index else ""

    def packed_samples(self, split: str) -> int:
        """Return the number of packed samples of a split."""
        return self.index.samples.get(split, 0) if self.index else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCorpus:
    """One corpus, with all caches that the segments read."""

    name: str
    partitions: tuple[PlannedPartition, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """The part of a partition that a group reads, if it does not read the whole partition."""

    place: int
    """Index into the partitions of the group."""
    start: int
    """First token."""
    stop: int
    """Token after the last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRange:
    """Consecutive tokens of the token array of one partition."""

    partition: int
    """Index into the partitions of the corpus."""
    start: int
    """First token."""
    stop: int
    """Token after the last one."""

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Training samples of a corpus that are shuffled together.

    A group that crosses partitions reads its partitions as one stream of tokens, of which each sample is the next `Plan.seq_len`. Any other
    group cuts each partition into samples on its own, or reads the packed samples of its index.
    """

    partitions: tuple[int, ...]
    """Indices into the partitions of the corpus, in reading order."""
    samples: int
    """Number of samples."""
    offset: int
    """Samples that were drawn from the group before the segment began."""
    key: int
    """Key of the shuffle, a 64-bit number."""
    crosses: bool = True
    """Whether samples cross from one partition into the next."""
    cuts: tuple[Cut, ...] = ()
    """Parts of the partitions that are not read completely."""
    packed: bool = False
    """Whether the samples are those of the indices of the partitions; such a group does not cross partitions."""
    block: int = 0
    """Samples per block of a shuffle within a window, which has as many blocks; 0 for a shuffle of the whole group."""

    def own_samples(self, corpus: PlannedCorpus, seq_len: int) -> int:
        """Return the number of training samples in the partitions of the group."""
        if self.packed:
            return sum(corpus.partitions[partition].packed_samples("train") for partition in self.partitions)
        tokens = [each.tokens for each in self.token_ranges(corpus)]
        return samples_in(sum(tokens), seq_len) if self.crosses else sum(samples_in(count, seq_len) for count in tokens)

    def token_ranges(self, corpus: PlannedCorpus, split: str = "train") -> Iterator[TokenRange]:
        """Yield the tokens that the group reads, in reading order, without empty partitions."""
        cuts = {cut.place: cut for cut in self.cuts}
        for place, partition in enumerate(self.partitions):
            shard = corpus.partitions[partition].shards.get(split)
            if cut := cuts.get(place):
                yield TokenRange(partition=partition, start=cut.start, stop=cut.stop)
            elif shard and shard.tokens:
                yield TokenRange(partition=partition, start=0, stop=shard.tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A corpus in a segment."""

    corpus: int
    """Index into the corpora of the plan."""
    weight: float | None
    """Declared factor on the number of training samples of the corpus, if a weight was declared."""
    share: float | None
    """Declared share of the samples of the mixture, if a share was declared."""
    rate: int
    """Share of the samples of the mixture, in units of 1 / `Segment.total_rate`."""
    drawn: int
    """Samples per epoch of the mixture."""
    groups: tuple[Group, ...]

    @property
    def samples(self) -> int:
        """Number of training samples of the corpus."""
        return sum(group.samples for group in self.groups)

    @property
    def partitions(self) -> list[int]:
        """Indices of the partitions of the corpus that are read, sorted."""
        return sorted({index for group in self.groups for index in group.partitions})

    @property
    def packed(self) -> bool:
        """Whether the samples of the corpus are packed."""
        return any(group.packed for group in self.groups)

    @property
    def amount(self) -> str:
        """Declared amount, for display: ``×1.5`` or ``30 %``."""
        return f"×{self.weight:g}" if self.weight is not None else f"{100 * (self.share or 0):g} %"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """The corpora that are read from a position up to the next segment."""

    start: int
    """First position."""
    sources: tuple[Source, ...]
    crosses: bool = True
    """Whether samples cross partitions.

    In a segment that crosses, only groups that continue from an earlier segment that does not are cut partition by partition. Its
    validation and test samples cover every token; the last sample of each corpus is padded.
    """

    @property
    def drawn(self) -> int:
        """Samples per epoch of the mixture."""
        return sum(source.drawn for source in self.sources)

    @property
    def total_rate(self) -> int:
        """Sum of the rates of all sources."""
        return sum(source.rate for source in self.sources)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ancestor:
    """An earlier plan of the mixture, with the same order up to a position."""

    fingerprint: str
    agrees_until: int
    """First position at which the orders may differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Token arrays, weights and order of a mixture."""

    name: str
    fingerprint: str
    seq_len: int
    """Tokens per sample."""
    seed: int
    dtype: str
    """dtype of every token array."""
    tokenizer: str
    """Folder of the tokenizer, relative to the folder of the plan; empty without a tokenizer."""
    concat: Concat
    shuffle: bool | Window
    """Whether each epoch reads the samples of a corpus in a new order instead of the order of its arrays, or the window of the shuffle."""
    corpora: tuple[PlannedCorpus, ...]
    segments: tuple[Segment, ...]
    ancestors: tuple[Ancestor, ...] = ()
    pad_id: int | None = None
    """Token id that pads the last validation and test sample of a corpus; None in plans whose samples do not cross partitions."""
    evaluation: tuple[int, ...] = ()
    """Indices of the corpora that are not trained on; all their token arrays are in the validation split."""
    format: int = FORMAT

    @property
    def sample_bytes(self) -> int:
        """Size of the tokens of a sample, in bytes."""
        return self.seq_len * int(self.dtype.lstrip("uint")) // 8

    @property
    def window_samples(self) -> int:
        """Number of samples in the window of the shuffle; 0 without a window."""
        return self.shuffle.window // self.sample_bytes if isinstance(self.shuffle, Window) else 0

    @property
    def current(self) -> Segment:
        """The last segment."""
        return self.segments[-1]

    def all_partitions(self) -> Iterator[PlannedPartition]:
        """Yield the partitions of all corpora."""
        return (partition for corpus in self.corpora for partition in corpus.partitions)

    def partitions(self, source: Source) -> list[PlannedPartition]:
        """Return the partitions that a source reads, in the order of the corpus."""
        return [self.corpora[source.corpus].partitions[index] for index in source.partitions]

    def shards(self, source: Source, split: str) -> list[Shard]:
        """Return the token arrays of a split that a source reads, in the order of its partitions."""
        return [partition.shards[split] for partition in self.partitions(source) if split in partition.shards]

    def total(self, split: str, count: Literal["tokens", "documents", "samples"], source: Source | None = None) -> int:
        """Return the number of tokens, documents or samples of a split, in one source or in the whole last segment.

        Training samples are the corpora's own, each counted once.
        """
        sources = self._sources(source)
        if count == "samples":
            return sum(each.samples if split == "train" else self._evaluated(each, split) for each in sources)
        return sum(getattr(shard, count) for each in sources for shard in self.shards(each, split))

    def _evaluated(self, source: Source, split: str) -> int:
        if source.packed:
            return sum(partition.packed_samples(split) for partition in self.partitions(source))
        tokens = [shard.tokens for shard in self.shards(source, split)]
        if self.current.crosses:
            return -(-sum(tokens) // self.seq_len)
        return sum(samples_in(count, self.seq_len) for count in tokens)

    def uncovered(self, source: Source | None = None) -> int:
        """Return the number of training tokens that are in no sample, in one source or in the whole last segment.

        A token that is only the label of the last token of a sample counts as uncovered. Packed samples contain every token.
        """
        return sum(self.total("train", "tokens", each) - self.seq_len * each.samples for each in self._sources(source) if not each.packed)

    def padding(self, source: Source | None = None) -> int:
        """Return the number of tokens of padding in the packed training samples of one source or of the whole last segment."""
        return sum(self.seq_len * each.samples - self.total("train", "tokens", each) for each in self._sources(source) if each.packed)

    def _sources(self, source: Source | None) -> Sequence[Source]:
        """Return one source, or all of the last segment."""
        return self.current.sources if source is None else (source,)

    @property
    def has_packed(self) -> bool:
        """Whether any corpus is packed; if so, the samples of all splits come with their document boundaries."""
        return any(partition.index is not None for partition in self.all_partitions())

    def evaluated(self) -> Iterator[tuple[str, "Plan"]]:
        """Yield the name of each corpus that is not trained on, and a plan whose validation split is that corpus."""
        for number in self.evaluation:
            corpus = self.corpora[number]
            all_partitions = Group(partitions=tuple(range(len(corpus.partitions))), samples=1, offset=0, key=0)
            source = Source(corpus=number, weight=1.0, share=None, rate=1, drawn=1, groups=(all_partitions,))
            yield corpus.name, replace(self, segments=(Segment(start=0, sources=(source,)),))

    def paths(self) -> Iterator[str]:
        """Yield every path that the plan names, relative to its folder: token arrays, indices of packed samples, and the tokenizer."""
        for partition in self.all_partitions():
            yield from (path for shard in partition.shards.values() for path, _ in shard.files)
            if partition.index:
                yield partition.index.path
        yield self.tokenizer

    def agrees(self, fingerprint: str, position: int) -> bool:
        """Return whether another plan and this plan have the same order before a position."""
        earlier = {ancestor.fingerprint: ancestor.agrees_until for ancestor in self.ancestors}
        return fingerprint == self.fingerprint or position <= earlier.get(fingerprint, -1)

    def to_json(self) -> str:
        """Return the content of the plan's file."""
        later: set[int] = {WINDOWED_FORMAT} if isinstance(self.shuffle, Window) else set()
        record = record_of(self, later)
        if later:
            record["format"] = max(later)
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def samples_in(tokens: int, seq_len: int) -> int:
    """Return the number of whole samples in a stream of tokens. The last token is only a label: no sample begins with it."""
    return max(tokens - 1, 0) // seq_len
