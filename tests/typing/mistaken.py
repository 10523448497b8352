"""A user's file with mistakes: mypy finds one at each line that is marked, and at no other."""

from pathlib import Path

import torch
from torch import nn

import pellucid
from pellucid.methods import GradCAM, SmoothGrad
from pellucid.methods import GradCamm  # mistake: attr-defined

model, images = nn.Sequential(), torch.zeros(1, 3, 8, 8)

SmoothGrad(GradCAM(), samples=8)
SmoothGrad(GradCAM(), sample=8)  # mistake: call-arg
SmoothGrad("gradcam")  # mistake: arg-type
SmoothGrad(GradCAM(), samples="8")  # mistake: arg-type

found = pellucid.explain(model, images, "gradcam", "all", layers=["layer4"])
pellucid.explain(model, images, "gradcam", "all", ["layer4"])  # mistake: call-arg
pellucid.explain(model, images, layer=["layer4"])  # mistake: call-arg
pellucid.explain(model, images, head=1)  # mistake: arg-type
pellucid.explain("resnet18", images)  # mistake: arg-type
pellucid.explain(model, "image.png")  # mistake: arg-type
pellucid.explain(model, Path("image.png"))  # mistake: arg-type
pellucid.explain(model, images, layers=[model])  # mistake: list-item
pellucid.Explainer(model, "gradcam", ["layer4"])  # mistake: call-arg
pellucid.Explainer(model, layers=["layer4"])(images, target="all")  # mistake: call-arg

found.heatmap  # mistake: attr-defined
found.heatmaps.shap  # mistake: attr-defined
found["0"]  # mistake: index
found.head = "sigmoid"  # mistake: misc
number: int = found.logits  # mistake: assignment
pellucid.Explanation.cat(images)  # mistake: arg-type
pellucid.explian(model, images)  # mistake: attr-defined
pellucid.write(found, "image.png", Path())  # mistake: arg-type
pellucid.Runtime(batchsize=2)  # mistake: call-arg
