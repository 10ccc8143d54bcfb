"""Writes what of charts/dtool-operator is made of something else; tests assert that it is true.

`templates/crds/` from `crds/`, and from the rendered templates `rbac/`: the same roles for installations
without Helm, the sandbox's among them.
"""
# ruff: noqa: INP001, T201 (a script beside the pages it writes)

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "dtool-operator"
NAMESPACE = "dtool-system"
RELEASE = "dtool-operator"

_NOTE = "# Made of {source} by docs/generate_chart.py (`make chart`): change that instead.\n"
_HEAD = """\
{{- if .Values.crds.enabled }}
"""
_METADATA = """\
  labels:
    {{- include "dtool-operator.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    # uninstalling the chart leaves the kind and all its objects alone
    helm.sh/resource-policy: keep
  {{- end }}
"""
_NAME = re.compile(r"^metadata:\n  name: \S+\n", re.MULTILINE)
#: Labels of Helm's own, which would be untrue on what was applied without it; and where a document is from.
_OF_HELM = re.compile(
    r"^(# Source: .*|    (helm\.sh/chart|app\.kubernetes\.io/(managed-by|version)): .*)\n", re.MULTILINE
)


def build_crd_template(crd: Path) -> str:
    """Return the template of a CRD: the file's own text, with labels, annotation and condition."""
    text = re.sub(r"\A(#.*\n)+", "", crd.read_text())
    if "{{" in text:
        raise ValueError(f"{crd.name} has braces that a template would take for its own")
    if len(_NAME.findall(text)) != 1:
        raise ValueError(f"{crd.name} has no place for labels")
    text = _NAME.sub(lambda found: found[0] + _METADATA, text)
    return _HEAD + _NOTE.format(source=f"crds/{crd.name}") + text.rstrip("\n") + "\n{{- end }}\n"


def build_crd_templates() -> dict[Path, str]:
    """Return path and text of all templates of CRDs."""
    return {
        CHART / "templates/crds" / crd.name: build_crd_template(crd) for crd in (ROOT / "crds").glob("*.yaml")
    }


def build_plain_rbac() -> dict[Path, str]:
    """Return path and text of the plain roles: what Helm renders with the chart's defaults. Needs helm."""
    from sandbox.helm import run_helm  # noqa: PLC0415 (built by Go the first time)

    texts: dict[Path, str] = {}
    for template in sorted((CHART / "templates" / "rbac").glob("*.yaml")):
        shown = [f"templates/rbac/{template.name}"]
        if template.name == "operator.yaml":
            shown.insert(0, "templates/serviceaccount.yaml")
        only = [f"--show-only={name}" for name in shown]
        rendered = run_helm("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", *only)
        note = _NOTE.format(source=f"templates/rbac/{template.name}")
        texts[CHART / "rbac" / template.name] = note + clean_rendered(rendered)
    return texts


def clean_rendered(text: str) -> str:
    """Return rendered documents without what only Helm would say of them."""
    return _OF_HELM.sub("", text).rstrip("\n") + "\n"


def main() -> int:
    """Write what differs, and say so."""
    sys.path.insert(0, str(ROOT))
    for path, text in {**build_crd_templates(), **build_plain_rbac()}.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
