"""The interfaces of the example in TypeScript are generated from the schemas of the contract."""

import re
from pathlib import Path

from message_batches import contract
from tests.external.examples.parents import TYPESCRIPT
from tests.harness import npm

SOURCE = TYPESCRIPT / "src"


def test_the_interfaces_are_those_of_the_schemas(typescript: None, tmp_path: Path) -> None:
    generated = tmp_path / "contract.ts"

    done = npm.run("npm", "run", "generate", "--", str(generated), cwd=TYPESCRIPT)

    assert done.returncode == 0, done.stdout
    assert generated.read_text() == (SOURCE / "contract.ts").read_text(), "`make schemas` renews the interfaces"


def test_the_name_and_the_queue_are_those_of_the_service() -> None:
    constants = dict(re.findall(r"^export const (\w+) = '(.*)';", (SOURCE / "message-batches.ts").read_text(), re.M))

    assert constants == {
        "WORKFLOW_TYPE": contract.WORKFLOW_TYPE,
        "JOB_WORKFLOW_TYPE": contract.JOB_WORKFLOW_TYPE,
        "TASK_QUEUE": contract.DEFAULT_TASK_QUEUE,
    }
