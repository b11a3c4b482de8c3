"""Prints the plan that is read from an Arazzo document: `python -m message_batches.arazzo FILE`."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from message_batches.arazzo.loader import load_document
from message_batches.arazzo.plan import RunPlan, normalize, plan_of
from message_batches.arazzo.yaml_source import DocumentError
from message_batches.formatting import escape_unprintable


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan of a document; return 2 for a file that no run could follow."""
    parser = argparse.ArgumentParser(prog="python -m message_batches.arazzo", description="Read an Arazzo document.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--workflow", metavar="ID", help="the workflow meant, where several make the three calls")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the plan as JSON, durations in seconds")
    form.add_argument("--normalize", action="store_true", help="print the document in its valid form")
    options = parser.parse_args(arguments)
    try:
        document = load_document(options.file)
        plan = plan_of(document, options.workflow)
        if options.normalize:
            text = normalize(document, options.workflow)
        else:
            text = json.dumps(plan.model_dump(mode="json"), indent=2) + "\n" if options.json else _readable(plan)
    except DocumentError as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.write(text)
    return 0


def _readable(plan: RunPlan) -> str:
    poll, transient = plan.poll, plan.poll.transient
    rows = {
        "workflow": plan.workflow_id,
        "submit": plan.submit_step,
        "poll": f"{plan.poll_step}, again {_times(poll.retry_after, poll.retry_limit)}, while not ended",
        "transient": f"429 and 5xx again {_times(transient.retry_after, transient.retry_limit)}",
        "retrieve": plan.retrieve_step,
        "version": f"{plan.anthropic_version}, unless the run is given another",
        "deviations": "none" if not plan.deviations else "",
    }
    lines = [f"{name:<12}{value}".rstrip() for name, value in rows.items()]
    return "\n".join(
        [
            *map(escape_unprintable, lines),
            *(f"  - {escape_unprintable(deviation)}" for deviation in plan.deviations),
            "",
        ]
    )


def _times(after: timedelta, limit: int) -> str:
    return f"after {after.total_seconds():g} s, at most {limit} times ({after * limit})"


if __name__ == "__main__":
    sys.exit(main())
