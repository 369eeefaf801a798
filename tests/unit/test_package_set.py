"""The package set of /var/runtime."""

import os

import pytest

from eventrt.errors import ConfigurationError
from eventrt.invoker.runtimes import package_set


def test_by_default_it_is_boto3_with_what_it_needs_and_nothing_else(tmp_path):
    found = package_set.find("")
    names = {name for name in found.entries if not name.endswith(".dist-info")}
    assert names == {"boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six.py", "urllib3"}
    folder = found.lay_out(tmp_path / "packages")
    assert set(os.listdir(folder)) == set(found.entries)
    (tmp_path / "packages" / "stale").symlink_to("/nowhere")
    found.lay_out(tmp_path / "packages")
    assert set(os.listdir(folder)) == set(found.entries)


def test_what_a_copy_of_the_data_directory_made_of_the_links_becomes_links_again(tmp_path):
    found = package_set.find("")
    target = tmp_path / "packages"
    (target / "boto3").mkdir(parents=True)
    (target / "boto3" / "__init__.py").write_text("")
    (target / "six.py").write_text("")
    folder = found.lay_out(target)
    assert {entry.name for entry in target.iterdir() if entry.is_symlink()} == set(os.listdir(folder))
    assert set(os.listdir(folder)) == set(found.entries)


def test_a_folder_or_a_venv_takes_its_place(tmp_path):
    (tmp_path / "target" / "boto3").mkdir(parents=True)
    found = package_set.find(str(tmp_path / "target"))
    assert (found.folder, found.has_boto3) == (str(tmp_path / "target"), True)
    site = tmp_path / "venv" / "lib" / "python3.12" / "site-packages"
    site.mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    found = package_set.find(str(tmp_path / "venv"))
    assert (found.folder, found.has_boto3) == (str(site), False)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="is no folder"):
        package_set.find(str(tmp_path / "none"))
