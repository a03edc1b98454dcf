"""The fourteen cohorts of PORPOISE's tables, one dataset each."""

from __future__ import annotations

from fusionbench_tcga.dataset import Tcga


class Blca(Tcga):
    """TCGA patients with bladder urothelial carcinoma: clinical and omic columns, image features."""

    name = "tcga-blca"
    title = "bladder urothelial carcinoma"


class Brca(Tcga):
    """TCGA patients with breast invasive carcinoma: clinical and omic columns, image features."""

    name = "tcga-brca"
    title = "breast invasive carcinoma"


class Kirp(Tcga):
    """TCGA patients with kidney renal papillary cell carcinoma: clinical and omic columns, image features."""

    name = "tcga-kirp"
    title = "kidney renal papillary cell carcinoma"


class Ucec(Tcga):
    """TCGA patients with uterine corpus endometrial carcinoma: clinical and omic columns, image features."""

    name = "tcga-ucec"
    title = "uterine corpus endometrial carcinoma"


class Luad(Tcga):
    """TCGA patients with lung adenocarcinoma: clinical and omic columns, image features."""

    name = "tcga-luad"
    title = "lung adenocarcinoma"


class Lusc(Tcga):
    """TCGA patients with lung squamous cell carcinoma: clinical and omic columns, image features."""

    name = "tcga-lusc"
    title = "lung squamous cell carcinoma"


class Stad(Tcga):
    """TCGA patients with stomach adenocarcinoma: clinical and omic columns, image features."""

    name = "tcga-stad"
    title = "stomach adenocarcinoma"


class Skcm(Tcga):
    """TCGA patients with skin cutaneous melanoma: clinical and omic columns, image features."""

    name = "tcga-skcm"
    title = "skin cutaneous melanoma"


class Hnsc(Tcga):
    """TCGA patients with head and neck squamous cell carcinoma: clinical and omic columns, image features."""

    name = "tcga-hnsc"
    title = "head and neck squamous cell carcinoma"


class Kirc(Tcga):
    """TCGA patients with kidney renal clear cell carcinoma: clinical and omic columns, image features."""

    name = "tcga-kirc"
    title = "kidney renal clear cell carcinoma"


class Lihc(Tcga):
    """TCGA patients with liver hepatocellular carcinoma: clinical and omic columns, image features."""

    name = "tcga-lihc"
    title = "liver hepatocellular carcinoma"


class Coadread(Tcga):
    """TCGA patients with colon and rectum adenocarcinoma: clinical and omic columns, image features."""

    name = "tcga-coadread"
    title = "colon and rectum adenocarcinoma"


class Gbmlgg(Tcga):
    """TCGA patients with glioblastoma and lower grade glioma: clinical and omic columns, image features."""

    name = "tcga-gbmlgg"
    title = "glioblastoma and lower grade glioma"


class Paad(Tcga):
    """TCGA patients with pancreatic adenocarcinoma: clinical and omic columns, image features."""

    name = "tcga-paad"
    title = "pancreatic adenocarcinoma"


COHORTS = (Blca, Brca, Kirp, Ucec, Luad, Lusc, Stad, Skcm, Hnsc, Kirc, Lihc, Coadread, Gbmlgg, Paad)
