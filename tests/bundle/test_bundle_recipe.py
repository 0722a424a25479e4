"""The third-party recipe of bundle-format.md 16 agrees with the reader on every bundle."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fixtures.worked_example import OTHER, P256, SIGNER, Draft, written
from tests.checks.container_case import outcomes, policy, said
from verify.wire.container import read_bundle
from verify.wire.model import ArtifactState

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "jq", "openssl", "base64", "sha256sum", "stat", "cut")
RECIPE = r"""#!/bin/bash
set -euo pipefail; F=$1; K=$2; T=$(mktemp -d); trap 'rm -rf "$T"' EXIT; sha() { sha256sum | cut -d' ' -f1; }
PT=$(jq -r .statement.payloadType "$F"); jq -r .statement.payload "$F" | base64 -d >"$T/p"
{ printf 'DSSEv1 %d %s %d ' ${#PT} "$PT" "$(stat -c %s "$T/p")"; cat "$T/p"; } >"$T/pae"; echo "bundle sha256:$(sha <"$T/pae")"
jq -r '.statement.signatures[0].sig' "$F" | base64 -d >"$T/s"; openssl pkeyutl -verify -pubin -inkey "$K" -rawin -in "$T/pae" -sigfile "$T/s"
jq -r --slurpfile m "$T/p" '(.blobs|keys) - ($m[0].predicate.artifacts|map(.digest)) | .[] | "EXTRA    " + .' "$F"   # must belong to an attachment
jq -r '.predicate.artifacts[]|[.id,.digest,.role,(.origin.artifact//"-")]|@tsv' "$T/p" | while IFS=$'\t' read -r id d role from; do
  case $(jq -r --arg d "$d" '.blobs[$d].encoding//"absent"' "$F") in
    base64) h=$(jq -r --arg d "$d" '.blobs[$d].data' "$F" | base64 -d | sha);;  utf-8) h=$(jq -j --arg d "$d" '.blobs[$d].data' "$F" | sha);;
    *) echo "NO BYTES $id $role derived-from=$from $d"; continue;;  esac
  [ "sha256:$h" = "$d" ] || { echo "BAD      $id"; exit 1; }; echo "OK       $id $role $d"
done
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the recipe for third parties needs {', '.join(missing)}, not installed here")
    folder = tmp_path_factory.mktemp("recipe")
    script = folder / "check.sh"
    script.write_text(RECIPE)

    def run(data: bytes, pem: bytes) -> subprocess.CompletedProcess[str]:
        (folder / "bundle").write_bytes(data)
        (folder / "key.pem").write_bytes(pem)
        return subprocess.run(
            ["bash", str(script), str(folder / "bundle"), str(folder / "key.pem")],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def agree(recipe, data: bytes, pem: bytes) -> None:
    """The recipe succeeds, names the same bundle id and finds bytes where the reader does."""
    done = recipe(data, pem)
    assert done.returncode == 0, done.stderr
    bundle = read_bundle(data)
    lines = done.stdout.splitlines()
    assert lines[0] == f"bundle {bundle.id}"
    document = json.loads(bundle.statement.envelope.payload)
    listed = {entry["id"]: entry["digest"] for entry in document["predicate"]["artifacts"]}
    found = {line.split()[1] for line in lines if line.startswith("OK ")}
    absent = {line.split()[2] for line in lines if line.startswith("NO BYTES")}
    assert found | absent == set(listed)
    stored = {
        name for name, digest in listed.items() if isinstance(bundle.blobs.get(digest), bytes)
    }
    assert found == stored


@pytest.mark.parametrize("key", [SIGNER, P256])
def test_recipe_agrees_on_the_worked_example(recipe, key):
    draft = Draft(signers=(key,))
    draft.predicate["session"]["signer"] = key.keyid
    agree(recipe, draft.build(), key.pem)
    states = outcomes(draft, rules=policy())["blobs.derived"].fact.states
    assert states["quote-1"] is ArtifactState.DERIVED


def test_recipe_agrees_on_every_fixture(recipe):
    for path in sorted((ROOT / "fixtures" / "bundles").glob("*.evidence.json")):
        data = path.read_bytes()
        assert read_bundle(data).statement.envelope.signatures[0].keyid == SIGNER.keyid, path.name
        agree(recipe, data, SIGNER.pem)


def test_recipe_and_reader_refuse_the_same_faults(recipe):
    assert recipe(Draft().build(), OTHER.pem).returncode != 0
    document = Draft().document()
    document["statement"]["payload"] = base64.b64encode(b"{}").decode()
    assert recipe(written(document), SIGNER.pem).returncode != 0
    document = Draft().document()
    for blob in document["blobs"].values():
        if blob["encoding"] == "utf-8":
            blob["data"] += " "
    done = recipe(written(document), SIGNER.pem)
    assert done.returncode != 0
    assert "BAD" in done.stdout
    assert said(outcomes(written(document))) == {"blobs.digests": "blob.digest_mismatch"}
