#!/usr/bin/env python3
"""What is in an image of ours, as CycloneDX: packages of Debian by what containers/rootfs noted, crates by Cargo.lock.

    contents.py FOLDER BINARY VERSION
"""
import json
import pathlib
import subprocess
import sys


def packages(root):
    for file in sorted((root / "var/lib/dpkg/status.d").iterdir()):
        fields = dict(line.split(": ", 1) for line in file.read_text().splitlines() if line[:1].isalpha() and ": " in line)
        name, version = fields["Package"], fields["Version"]
        yield component(name, version, f"pkg:deb/debian/{name}@{version}?arch={fields['Architecture']}")


def crates(binary):
    command = ["cargo", "tree", "--locked", "--offline", "--package", binary, "--edges", "normal", "--prefix", "none"]
    lines = subprocess.run([*command, "--format", "{p}|{l}"], check=True, capture_output=True, text=True).stdout
    for line in sorted(set(lines.replace(" (*)", "").splitlines())):
        of, licence = line.split("|")
        name, version = of.split()[:2]
        version = version.removeprefix("v")
        yield component(name, version, f"pkg:cargo/{name}@{version}", licence)


def component(name, version, purl, licence=None):
    licences = {"licenses": [{"expression": licence.replace("/", " OR ")}]} if licence else {}
    return {"type": "library", "name": name, "version": version, "purl": purl, **licences}


root, binary, version = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": binary, "version": version}},
        "components": [*packages(root), *crates(binary)],
    },
    sys.stdout,
    indent=1,
)
