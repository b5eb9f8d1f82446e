"""One step of the work on data, by ftops or by a peer: says in JSON what it took and which rows it found.

python benchmarks/data_steps.py STEP FILE ROWS      takes the first ROWS of FILE, as instructions.py makes it

Times are those of the step alone, once what it works with is imported and the rows are in memory. Runs under the Python that
has the peer, so it imports nothing of the project but where the step is ftops's own.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

Rows = list[dict[str, str]]
Found = set[int]
"""Numbers of rows, from 1."""


def main() -> None:
    what, file, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with file.open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line, _ in zip(stream, range(count), strict=False)]
    work = STEPS[what](rows)
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps(took | {"rows": len(rows), "found": sorted(found)}))


def joined(rows: Rows) -> list[str]:
    return ["\n".join(row.values()) for row in rows]


# ----------------------------------------------------------------------------------------------- ftops


def ftops_pii(rows: Rows) -> Callable[[], Found]:
    from ftops.datasets.checks.pii import Pii

    return ftops_check(Pii(), rows)


def ftops_near(rows: Rows) -> Callable[[], Found]:
    from ftops.datasets.checks.duplicates import Duplicates, Near

    return ftops_check(Duplicates(exact="report", near=Near(threshold=0.95)), rows)


def ftops_check(check: object, rows: Rows) -> Callable[[], Found]:
    import pyarrow as pa

    from ftops.datasets.checks.rows import TableRows

    names = ("instruction", "input", "output")
    columns = {name: pa.array([row[name] for row in rows], pa.large_string()) for name in names}
    table = TableRows(pa.table({"row": pa.array(range(1, len(rows) + 1), pa.int64())} | columns))
    return lambda: {finding.row for finding in check.run(table).findings}


# -------------------------------------------------------------------------------------------- presidio


def presidio(rows: Rows) -> Callable[[], Found]:
    """The analyzer whole. Its recognisers are those that need no model: that for names and places stays out."""
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    nothing = NoOpNlpEngine([{"lang_code": "ko", "model_name": "none"}])
    nothing.load()
    registry = RecognizerRegistry(recognizers=presidio_recognisers(), supported_languages=["ko"])
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=nothing, supported_languages=["ko"])
    texts = joined(rows)
    analyzer.analyze(texts[0], "ko")
    return lambda: {row for row, text in enumerate(texts, 1) if analyzer.analyze(text, "ko")}


def presidio_direct(rows: Rows) -> Callable[[], Found]:
    """Each recogniser called by itself, without the analyzer around them."""
    recognisers = presidio_recognisers()
    texts = joined(rows)

    def work() -> Found:
        return {
            row
            for row, text in enumerate(texts, 1)
            if sum(len(one.analyze(text, one.supported_entities, None) or []) for one in recognisers)
        }

    return work


def presidio_recognisers() -> list[object]:
    """E-mail, telephone of two countries, card, and every Korean one."""
    import tldextract
    from presidio_analyzer import predefined_recognizers as all_of_them

    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())  # else it asks the network first
    korean = [name for name in dir(all_of_them) if re.fullmatch(r"Kr\w+Recognizer", name)]
    made = [getattr(all_of_them, name)() for name in korean]
    made += [getattr(all_of_them, f"{name}Recognizer")(supported_language="ko") for name in ("Email", "CreditCard")]
    made.append(all_of_them.PhoneRecognizer(supported_language="ko", supported_regions=("KR", "US")))
    return made


# ------------------------------------------------------------------------------------------ datasketch


def datasketch(rows: Rows) -> Callable[[], Found]:
    """MinHash of the words and LSH at 0.95, as its documentation has it; what LSH proposes counts as found."""
    from datasketch import MinHash, MinHashLSH

    def work() -> Found:
        index = MinHashLSH(threshold=0.95, num_perm=128)
        words = [{word.encode() for word in re.findall(r"\w+", text.lower())} for text in joined(rows)]
        found = set()
        for row, sketch in enumerate(MinHash.generator(words, num_perm=128), 1):
            if index.query(sketch):
                found.add(row)
            index.insert(row, sketch)
        return found

    return work


# ------------------------------------------------------------------------------------------- datatrove


def datatrove_pii(rows: Rows) -> Callable[[], Found]:
    """Its formatter, which knows e-mail and IP addresses only."""
    from datatrove.pipeline.formatters import PIIFormatter

    formatter, texts = PIIFormatter(), joined(rows)
    return lambda: {row for row, text in enumerate(texts, 1) if formatter.format(text) != text}


def datatrove_near(rows: Rows) -> Callable[[], Found]:
    """Its four stages, with words, not runs of five, and 16 buckets of 8 hashes: nothing above 0.95 is missed that way."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupFilter
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer
    from loguru import logger

    logger.remove()
    config = MinhashConfig(n_grams=1, num_buckets=16, hashes_per_bucket=8)
    documents = [Document(text, str(row)) for row, text in enumerate(joined(rows), 1)]

    def work() -> Found:
        with tempfile.TemporaryDirectory() as folder:
            signatures, buckets, removed = (f"{folder}/{name}" for name in ("signatures", "buckets", "removed"))
            MinhashDedupSignature(signatures, config, WhitespaceTokenizer()).run(iter(documents))
            for bucket in range(config.num_buckets):
                list(
                    MinhashDedupBuckets(signatures, buckets, config=config).run(None, bucket, config.num_buckets) or ()
                )
            MinhashDedupCluster(buckets, removed, config=config).run(None, 0, 1)
            kept = {int(each.id) for each in MinhashDedupFilter(removed).run(iter(documents), 0, 1)}
        return set(range(1, len(documents) + 1)) - kept

    return work


STEPS: dict[str, Callable[[Rows], Callable[[], Found]]] = {
    "ftops PII": ftops_pii,
    "ftops duplicates": ftops_near,
    "presidio analyzer": presidio,
    "presidio recognisers": presidio_direct,
    "datasketch LSH": datasketch,
    "datatrove PII": datatrove_pii,
    "datatrove MinHash": datatrove_near,
}

if __name__ == "__main__":
    main()
