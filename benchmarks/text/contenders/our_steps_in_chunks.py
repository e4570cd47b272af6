"""This project's steps on one large file, by as many processes as the last argument says."""

import sys
import time


def main() -> None:
    import datasets  # noqa: F401  (imported by a step, and not to be timed)
    from our_corpus import NAME, data_folder, published
    from task import done, task

    from phyagi_assets.declare.catalog import load_catalog
    from phyagi_assets.steps.cache import build_cache
    from phyagi_assets.steps.raw import build_raw
    from phyagi_assets.steps.step import Workspace
    from phyagi_assets.steps.tokenize import build_tokenized
    from phyagi_assets.store.local import LocalStore
    from phyagi_assets.tokenizers.prepare import prepare_tokenizer

    processes = int(sys.argv.pop())
    data = data_folder(task())
    corpus = load_catalog(data).corpora[NAME]
    workspace = Workspace(data=data, store=LocalStore(data / "store"))
    workspace.engines.engines(prepare_tokenizer(corpus, data, workspace.store), workspace.store)  # loads the tokenizer
    (partition,) = workspace.sources.partitions(corpus).values()
    started = time.perf_counter()
    build_raw(corpus, partition, workspace)
    read = time.perf_counter()
    tokenized = build_tokenized(corpus, partition, workspace, processes=processes)
    encoded = time.perf_counter()
    build_cache(corpus, partition, workspace)
    ended = time.perf_counter()

    files = {name: file.xxh3_128 for name, file in sorted(tokenized.artifact.manifest.files.items())}
    done(ended - started, **published(data), content=files, tokenizing=encoded - read)


if __name__ == "__main__":  # the processes import this file
    main()
