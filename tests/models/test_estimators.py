"""scikit-learn estimators and plain functions as models."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from surefoot.data import load
from surefoot.evaluation import Plain, Smoothed, bracket
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.models import from_estimator, open_model
from surefoot.models.border import not_callable
from surefoot.threat import Threat
from surefoot.uncertainty import Selective
from surefoot.uncertainty.vote import Vote


@pytest.fixture(scope="module")
def train():
    images, labels = load("digits", "train").batch(slice(0, 300))
    return images.flatten(1).numpy(), labels.numpy()


ESTIMATORS = {
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "logistic": lambda: LogisticRegression(max_iter=300),
    "pipeline": lambda: make_pipeline(StandardScaler(), GaussianNB()),
    "neighbours": lambda: KNeighborsClassifier(3),
    "calibrated": lambda: CalibratedClassifierCV(LinearSVC(), cv=2),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_logits_are_logs_of_clipped_probabilities(name, train):
    estimator = ESTIMATORS[name]().fit(*train)
    images, _ = load("digits").batch(slice(0, 20))
    logits = from_estimator(estimator)(images)
    wanted = estimator.predict_proba(images.flatten(1).double().numpy())
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert np.allclose(logits.exp().numpy(), wanted, atol=1e-6)


def test_an_estimator_goes_through_the_bracket(train):
    model, data = from_estimator(ESTIMATORS["forest"]().fit(*train)), load("digits").first(20)
    record = bracket(
        Plain(model, steps=4), data, guarantee=Local(), threat=Threat("linf", 0.2), limits=True
    )
    assert record.rows["attacked"].lt(np.inf).any()
    record = bracket(
        Smoothed(Vote(model, 0.25), n_certify=200),
        data.first(5),
        guarantee=Local(),
        threat=Threat("l2", 0.1),
        limits=False,
    )
    assert record.rows["certified"].gt(0).any()


def test_an_estimator_may_reject(train):
    model = Selective(from_estimator(ESTIMATORS["logistic"]().fit(*train)), "entropy", 0.3)
    record = bracket(
        Plain(model, steps=4),
        load("digits").first(20),
        guarantee=LabelOrUncertain(),
        threat=Threat("linf", 0.05),
        limits=False,
    )
    assert 0 < record.rows["accepted"].mean() < 1


def test_columns_of_a_table_are_given_back(train):
    features, labels = train
    table = pd.DataFrame(features, columns=[f"pixel {i}" for i in range(64)])
    estimator = LogisticRegression(max_iter=300).fit(table, labels)
    assert from_estimator(estimator)(torch.rand(3, 1, 8, 8)).shape == (3, 10)


def test_classes_that_were_not_seen_keep_their_column(train):
    features, labels = train
    some = np.isin(labels, (1, 4, 7))
    logits = from_estimator(GaussianNB().fit(features[some], labels[some]))(torch.rand(3, 64))
    assert logits.shape == (3, 8)
    assert set(logits.argmax(1).tolist()) <= {1, 4, 7}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: LinearSVC().fit(x, y), "CalibratedClassifierCV"),
        (lambda x, y: GaussianNB(), "call fit"),
        (lambda x, y: GaussianNB().fit(x, [f"digit {one}" for one in y]), "return_inverse=True"),
        (lambda x, y: GaussianNB().fit(x, y - 1), "from 0 on"),
        (lambda x, y: KNeighborsClassifier().fit(x, np.stack([y, y], 1)), "several outputs"),
    ],
)
def test_what_cannot_be_used_is_named(make, message, train):
    with pytest.raises(ValueError, match=message):
        from_estimator(make(*train))


def test_an_estimator_that_was_not_wrapped_is_named(train):
    assert "from_estimator(estimator)" in not_callable(GaussianNB().fit(*train))
    assert "function from images to logits" in not_callable(3)


FACTORIES = """
import numpy as np
import torch
from sklearn.naive_bayes import GaussianNB

def estimator():
    rng = np.random.default_rng(0)
    return GaussianNB().fit(rng.random((40, 4)), np.arange(40) % 3)

def function():
    return lambda images: images.flatten(1).numpy()[:, :3]

def rejecting():
    def predict(images):
        return images.flatten(1)[:, :3]
    predict.rejects = True
    return predict

def number():
    return 3
"""


def test_a_file_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "beside_the_factory.py").write_text(
        "def net():\n    return lambda images: images\n"
    )
    (tmp_path / "importing.py").write_text("from beside_the_factory import net\n")
    images = torch.rand(3, 4)
    assert torch.equal(open_model(f"{tmp_path / 'importing.py'}:net")(images), images)


def test_a_factory_may_return_an_estimator_or_a_function(tmp_path):
    path = tmp_path / "made_of_others.py"
    path.write_text(FACTORIES)
    images = torch.rand(5, 1, 2, 2)
    assert open_model(f"{path}:estimator")(images).shape == (5, 3)
    assert torch.equal(open_model(f"{path}:function")(images), images.flatten(1)[:, :3])
    assert open_model(f"{path}:rejecting").rejects
    with pytest.raises(ValueError, match=r"a scikit-learn estimator or a function.*returned a int"):
        open_model(f"{path}:number")
