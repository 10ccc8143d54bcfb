"""Runs many `dtool` commands in one process, in our or upstream's environment: starting one costs a second.

Reads a JSON list of commands from standard input, writes the list of their results to standard output. A
command is {"arguments": […], "stdin": …, "name": …}; what it printed stands for its name in braces in the
arguments and the input of later ones. {"begin_copy": source, "to": base URI} ends a copy after one item.
"""

import json
import sys

import dtoolcore
from click.testing import CliRunner
from dtool_cli.cli import dtool
from dtoolcore_script import share_clients


def run(command, outputs):
    """Run a command; return its exit code, output and error."""

    def fill(text):
        for name, output in outputs.items():
            text = text.replace("{" + name + "}", output)
        return text

    if "begin_copy" in command:
        begin_copy(fill(command["begin_copy"]), fill(command["to"]))
        return {"exit_code": 0, "stdout": "", "stderr": ""}
    arguments = [fill(argument) for argument in command["arguments"]]
    result = CliRunner().invoke(dtool, arguments, input=fill(command.get("stdin") or ""))
    if "name" in command:
        outputs[command["name"]] = result.stdout.strip()
    failed = "" if result.exception is None else f"{type(result.exception).__name__}: {result.exception}"
    return {
        "exit_code": result.exit_code,
        "stdout": result.stdout.strip(),
        "stderr": f"{result.stderr.strip()} {failed}".strip(),
    }


def begin_copy(source_uri, base_uri):
    """Do what an interrupted `dtool cp` did: the proto dataset and its first item."""
    source = dtoolcore.DataSet.from_uri(source_uri)
    identifier = min(source.identifiers)
    path, relpath = source.item_content_abspath(identifier), source.item_properties(identifier)["relpath"]
    dtoolcore._copy_create_proto_dataset(source, base_uri).put_item(path, relpath)


if __name__ == "__main__":
    share_clients()
    printed = {}
    json.dump([run(command, printed) for command in json.load(sys.stdin)], sys.stdout)
