"""The fourteen cohorts of PORPOISE's tables, one dataset each."""

from __future__ import annotations

from fusionbench_tcga.dataset import Tcga


class Blca(Tcga):
    name = "tcga-blca"
    title = "bladder urothelial carcinoma"


class Brca(Tcga):
    name = "tcga-brca"
    title = "breast invasive carcinoma"


class Kirp(Tcga):
    name = "tcga-kirp"
    title = "kidney renal papillary cell carcinoma"


class Ucec(Tcga):
    name = "tcga-ucec"
    title = "uterine corpus endometrial carcinoma"


class Luad(Tcga):
    name = "tcga-luad"
    title = "lung adenocarcinoma"


class Lusc(Tcga):
    name = "tcga-lusc"
    title = "lung squamous cell carcinoma"


class Stad(Tcga):
    name = "tcga-stad"
    title = "stomach adenocarcinoma"


class Skcm(Tcga):
    name = "tcga-skcm"
    title = "skin cutaneous melanoma"


class Hnsc(Tcga):
    name = "tcga-hnsc"
    title = "head and neck squamous cell carcinoma"


class Kirc(Tcga):
    name = "tcga-kirc"
    title = "kidney renal clear cell carcinoma"


class Lihc(Tcga):
    name = "tcga-lihc"
    title = "liver hepatocellular carcinoma"


class Coadread(Tcga):
    name = "tcga-coadread"
    title = "colon and rectum adenocarcinoma"


class Gbmlgg(Tcga):
    name = "tcga-gbmlgg"
    title = "glioblastoma and lower grade glioma"


class Paad(Tcga):
    name = "tcga-paad"
    title = "pancreatic adenocarcinoma"


COHORTS = (Blca, Brca, Kirp, Ucec, Luad, Lusc, Stad, Skcm, Hnsc, Kirc, Lihc, Coadread, Gbmlgg, Paad)
