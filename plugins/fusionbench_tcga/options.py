"""Options of the TCGA cohorts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from fusionbench import BESIDE_SUITE, Options
from fusionbench_tcga import maps
from fusionbench_tcga.folds import Publisher
from fusionbench_tcga.genes import Published


class TcgaOptions(Options):
    """
    Attributes:
        image: "none", a public set of this cohort ("xception", "hif", "roi", "maps"), "maps:PATH" (a folder of PNGs or
            an .npz), "dir:PATH" (patch features of your own, one file per slide), "dir", the same under
            `patches/<dataset>/` of the data home, or "grid:PATH" (pictures or volumes, one file per slide or patient).
        boe: cell patterns of `image=roi`; the histogram has boe (boe + 1) / 2 bars.
        window: edge of a window of `image=maps`, in reduced pixels; 1 with layout=grid is the image itself.
        channels: of `image=maps`; "r" leaves out the channels that stem from other classifiers.
        layout: of `image=maps`; see `maps.read_maps`.
        axes: of `image=grid`; 2 = pictures, 3 = volumes.
        downsample: edge of the blocks of a grid's positions that are averaged to one.
        group: what stays on one side of a split: the patient, or all patients of a tissue source site.
        endpoint: "os" from PORPOISE's table; from TCGA's Clinical Data Resource (CDR) "dss", "pfi" and "dfi", and the
            classes "stage" (III or IV is positive) and "grade" (3, 4 or high is positive), where the cohort has them;
            from the table's histology the classes "lobular" (of BRCA, 158 of 895, as against ductal) and "serous" (of
            UCEC, 95 of 458, as against endometrioid).
        folds: whose published folds: "porpoise", "survpath", where SurvPath's split files are there, or "dispro" (BLCA,
            BRCA, LUAD, UCEC), with DisPro's masks: `train_pattern = "published:W40_O20"`.
        stage_grade: add stage (0-4) and grade (1-4) of the CDR to `clinical`.
        clinical_stage: offer `clinical_stage` beside `clinical`: the same columns with stage and grade.
        shared: of BRCA, only what METABRIC has too: age, stage and lobular type in `clinical`, 12 genes in `mutations`
            in place of `omic`.
        groups: of the columns of `omic`: MCAT's six "signatures", SurvPath's 50 "hallmarks", its 281 pathways of
            "reactome" or both, "combine"; or a file of your own, a `.gmt` or a table (docs/own-data.md).
    """

    image: str = "none"
    boe: Literal[8, 16, 32, 64] = 32
    window: int = Field(16, ge=1)
    channels: maps.Channels = "rgb"
    layout: maps.Layout = "bag"
    axes: Literal[2, 3] = 2
    downsample: int = Field(1, ge=1)
    group: Literal["patient", "site"] = "patient"
    endpoint: Literal["os", "dss", "pfi", "dfi", "stage", "grade", "lobular", "serous"] = "os"
    stage_grade: bool = False
    clinical_stage: bool = False
    shared: bool = False
    folds: Publisher = "porpoise"
    groups: Annotated[Published | str, BESIDE_SUITE] = "signatures"

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Later options are written where they say something, so that the keys of older results stay theirs."""
        later = {"axes": 2, "downsample": 1, "folds": "porpoise", "shared": False, "clinical_stage": False}
        later |= {"groups": "signatures"}
        return {name: value for name, value in plain(self).items() if later.get(name) != value}
