"""Published numbers beside a suite: what is read, and what is refused in which words, before any compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from fusionbench import SuiteError
from fusionbench.suites import published_numbers as references
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_files import load_suite
from fusionbench.suites.validation import check_names
from tests.unit.suites.test_suite import HEAD, registry

REFERENCE = "dataset,model,modalities,pattern,metric,mean,sd\n"
CLAIMS = "id,where,claim,number,checked_by,kind,datasets,model,modalities,pattern,variant,against,threshold\n"
COUNTS = "dataset,unit,property,value,plus\n"
ROW = "toy,mcat,clinical+omic,full,harrell_c_index,0.6,0.02\n"


def written(folder: Path, files: Mapping[str, str]) -> Suite:
    """A suite that names the files, checked against what is installed."""
    keys = {"ref.csv": "reference", "claims.csv": "claims", "counts.csv": "counts"}
    text = HEAD + "".join(f'{keys[name]} = "{name}"\n' for name in files)
    (folder / "mine.toml").write_text(text)
    for name, content in files.items():
        (folder / name).write_text(content)
    known = registry({"mine": folder / "mine.toml"})
    suite = load_suite(known, "mine")
    check_names(suite, known)
    return suite


def test_what_is_read(tmp_path: Path) -> None:
    suite = written(tmp_path, {"ref.csv": "# where from\n" + REFERENCE + ROW + "\n" + ROW.replace("toy", "other[n=5]")})
    found = references.read(suite)["reference"]
    assert (found.file, found.notes, len(found.rows)) == ("ref.csv", ("where from",), 2)
    assert found.rows[1]["dataset"] == "other[n=5]"
    assert len(found.sha256) == 64
    assert references.units(suite) == ()


def test_units_of_published_counts_are_counted(tmp_path: Path) -> None:
    rows = ("rows,10", "slides,12", "having:omic,9", "bins,1 2 3 4")
    suite = written(tmp_path, {"counts.csv": COUNTS + "".join(f"toy,slide,{row},\n" for row in rows)})
    assert references.units(suite) == ("slide",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("toy,", "toi,", "ref.csv, row 1: unknown dataset 'toi'; did you mean 'toy'? Choices: other, own, toy"),
        ("mcat", "mact", "ref.csv, row 1: unknown model 'mact'; did you mean 'mcat'? Choices: mcat, snn"),
        ("mcat", "mcat[", "ref.csv, row 1: cannot read 'mcat['"),
        ("+omic", "+omics", "unknown modality of this suite 'omics'; did you mean 'omic'? Choices: clinical, omic"),
        ("full", "fulll", "unknown missing-modality pattern 'fulll'; choices: full, half"),
        ("full", "only:image", "missing-modality pattern 'only:image': unknown modality 'image'"),
        ("harrell_c_index", "c_index", "unknown metric 'c_index'; did you mean 'harrell_c_index'?"),
        ("0.6,", "high,", "row 1: mean is 'high', which is no number"),
        ("0.6,", "nan,", "row 1: mean is 'nan', which is no number"),
        (",0.02", ",", None),
        (",0.02", "", "ref.csv, line 2: 6 cells under 7 columns"),
        (ROW, ROW + ROW, "ref.csv: toy · mcat · clinical+omic · full · harrell_c_index is there twice"),
        ("metric", "metrik", "ref.csv: unknown column 'metrik'; did you mean 'metric'? Choices: dataset, mean,"),
        (",sd\n", "\n", "ref.csv: no column 'sd'"),
    ],
)
def test_what_a_reference_may_not_say(tmp_path: Path, old: str, new: str, said: str | None) -> None:
    text = REFERENCE + ROW
    assert old in text
    if said is None:
        written(tmp_path, {"ref.csv": text.replace(old, new, 1)})
        return
    with pytest.raises(SuiteError) as caught:
        written(tmp_path, {"ref.csv": text.replace(old, new, 1)})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("c1,w,c,,mine,gain,toy,mcat,omic,full,,snn,", "claims.csv, row 1: unknown kind of claim 'gain'"),
        ("c1,w,c,,mine,nearly-equal,tou,mcat,omic,full,,snn,1", "unknown dataset 'tou'; did you mean 'toy'"),
        ("c1,w,c,,mine,nearly-equal,toy,mcta,omic,full,,snn,1", "unknown model 'mcta'; did you mean 'mcat'"),
        ("c1,w,c,,mine,nearly-equal,toy,mcat,omic,full,,sn,1", "unknown model 'sn'; did you mean 'snn'"),
        ("c1,w,c,,mine,nearly-equal,toy,mcat,omic,full,,snn@omik,1", "unknown modality of this suite 'omik'"),
        ("c1,w,c,,mine,nearly-equal,toy,mcat,omic,full,,snn,near", "threshold is 'near', which is no number"),
        ("c1,w,c,,mine,later-rise,,,,full,l1,base,", "unknown variant of this suite 'l1'. Choices: base"),
        ("c1,w,c,,mine,sensitive,,,,full,,bas,", "unknown variant of this suite 'bas'; did you mean 'base'"),
        ("c1,w,c,,other,later-rise,,,,full,l1,base,", None),
        ("c1,w,c,,other,,,,,,,,", None),
    ],
)
def test_what_a_claim_may_not_say(tmp_path: Path, row: str, said: str | None) -> None:
    if said is None:
        written(tmp_path, {"claims.csv": f"{CLAIMS}{row}\n"})
        return
    with pytest.raises(SuiteError) as caught:
        written(tmp_path, {"claims.csv": f"{CLAIMS}{row}\n"})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("toy,ward,rows,10,", "counts.csv, row 1: unknown unit 'ward'. Choices: patient, slide"),
        ("toy,slide,row,10,", "unknown property 'row'; did you mean 'rows'"),
        ("toy,slide,having:,10,", "unknown property 'having:'; did you mean 'having:MODALITY'"),
        ("toy,patient,slides,10,", "counts.csv, row 1: property slides belongs to unit slide, not patient"),
        ("toy,slide,bins,1;2,", "value is '1;2', which is no number"),
        ("toi,slide,rows,10,", "unknown dataset 'toi'"),
    ],
)
def test_what_a_count_may_not_say(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        written(tmp_path, {"counts.csv": f"{COUNTS}{row}\n"})
    assert said in str(caught.value)


def test_all_files_are_told_at_once_and_a_missing_one_too(tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        written(
            tmp_path, {"ref.csv": REFERENCE + ROW.replace("toy", "toi"), "counts.csv": COUNTS + "toi,slide,rows,1,\n"}
        )
    assert str(caught.value).count("unknown dataset 'toi'") == 2
    (tmp_path / "ref.csv").unlink()
    known = registry({"mine": tmp_path / "mine.toml"})
    with pytest.raises(SuiteError, match=r"reference: ref\.csv: cannot be read \("):
        check_names(load_suite(known, "mine"), known)
