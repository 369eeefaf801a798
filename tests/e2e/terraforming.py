"""Terraform with the AWS provider, in a folder of its own, against one daemon."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ACCOUNT = "123456789012"
"""Whose things Terraform makes: the provider's access key says so."""


def provider(*services: str, region: str = "us-east-1", further: str = "") -> str:
    """Return the beginning of a configuration: the provider, its endpoints, and their variable."""
    endpoints = "\n".join(f"    {service} = var.url" for service in services)
    return f"""
terraform {{
  required_providers {{
    aws = {{
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }}
  }}
}}

provider "aws" {{
  region                      = "{region}"
  access_key                  = "{ACCOUNT}"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  {further}
  endpoints {{
{endpoints}
    sts = var.url
  }}
}}

variable "url" {{ type = string }}
"""


class Terraform:
    """A folder with one configuration.

    Args: variables: those that stay as they are through all applies.
    """

    def __init__(self, folder: Path, configuration: str, **variables: object) -> None:
        self._folder = folder
        self._variables = variables
        folder.mkdir(exist_ok=True)
        (folder / "main.tf").write_text(configuration)

    def initialise(self) -> "Terraform":
        """Fetch the provider; skips the test where there is no Terraform, or no provider for it."""
        if shutil.which("terraform") is None:
            pytest.skip("terraform is not on PATH")
        if self._run("init", "-backend=false", codes=(0, 1))[0]:
            pytest.skip("terraform cannot find the AWS provider: neither a filesystem mirror nor the registry has it")
        return self

    def apply(self, **variables: object) -> None:
        """Make what the configuration says, and hold that a plan then finds nothing to do."""
        self._run("apply", "-auto-approve", **self._variables, **variables)
        self.has_no_difference(**variables)

    def has_no_difference(self, **variables: object) -> None:
        """Hold that a plan finds nothing to do."""
        code, shown = self._run("plan", "-detailed-exitcode", codes=(0, 2), **self._variables, **variables)
        assert code == 0, f"a plan shows a difference:\n{shown}"

    def destroy(self, **variables: object) -> None:
        """Take everything away again."""
        self._run("destroy", "-auto-approve", **self._variables, **variables)

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the last apply."""
        shown = json.loads(self._run("output", "-json")[1])
        return {name: entry["value"] for name, entry in shown.items()}

    def _run(self, *arguments: str, codes: tuple[int, ...] = (0,), **variables: object) -> tuple[int, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR_"))}
        done = subprocess.run(
            ["terraform", *arguments, *(f"-var={name}={value}" for name, value in variables.items())],
            cwd=self._folder,
            env={**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode in codes, f"terraform {arguments[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.returncode, done.stdout


def write_archive(file: Path, source: str) -> Path:
    """Write a function's package and return its path; the same source gives the same bytes."""
    with zipfile.ZipFile(file, "w") as package:
        package.writestr(zipfile.ZipInfo("app.py", (2025, 1, 1, 0, 0, 0)), source)
    return file
