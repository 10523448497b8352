"""The attacks written image by image, as the papers have them, in NumPy's way of counting and without batches."""

import math

import torch
from torch.nn import functional as F


def gradient(model, x, loss):
    """The loss of one image (C, *space), and its gradient."""
    leaf = x.clone().requires_grad_()
    value = loss(model(leaf[None]))
    (found,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), found


def cross_entropy(label):
    return lambda logits: F.cross_entropy(logits, torch.tensor([label]))


def dlr(label):
    def loss(logits):
        z = logits[0]
        ordered = z.sort(descending=True).values
        others = torch.cat([z[:label], z[label + 1 :]])
        return -(z[label] - others.max()) / (ordered[0] - ordered[2] + 1e-12)

    return loss


def fgsm(model, x, loss, epsilon):
    return (x + epsilon * gradient(model, x, loss)[1].sign()).clamp(0, 1)


def pgd(model, x, start, loss, epsilon, steps, size):
    found = torch.max(torch.min(start, x + epsilon), x - epsilon).clamp(0, 1)
    for _ in range(steps):
        found = found + size * gradient(model, found, loss)[1].sign()
        found = torch.max(torch.min(found, x + epsilon), x - epsilon).clamp(0, 1)
    return found


def pgd_l2(model, x, start, loss, epsilon, steps, size):
    def projected(y):
        change = y - x
        return (x + change * min(1.0, epsilon / max(float(change.norm()), 1e-30))).clamp(0, 1)

    found = projected(start)
    for _ in range(steps):
        slope = gradient(model, found, loss)[1]
        found = projected(found + size * slope / slope.norm())
    return found


def apgd(model, x, start, label, loss, epsilon, steps):
    """Algorithm 1 of Croce & Hein 2020; ends once the answer moves. Returns the image, and how many gradients it took.

    The checkpoints are w_j = ⌈p_j N⌉ with p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06).
    """
    shares = [0.0, 0.22]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    marks = sorted({math.ceil(round(p * steps, 9)) for p in shares[1:-1]})

    def projected(y):
        return torch.max(torch.min(y, x + epsilon), x - epsilon).clamp(0, 1)

    points = [projected(start)]
    value, slope = gradient(model, points[0], loss)
    values, slopes, count = [value], [slope], 1
    if int(model(points[0][None]).argmax()) != label:
        return points[0], count
    eta, best = 2 * epsilon, 0
    previous, eta_at, best_at, last = None, eta, values[0], 0
    current, restarts = (points[0], slopes[0]), {}
    for k in range(steps):
        now, slope = current
        ahead = projected(now + eta * slope.sign())
        after = ahead if k == 0 else projected(now + 0.75 * (ahead - now) + 0.25 * (now - previous))
        value, slope = gradient(model, after, loss)
        count += 1
        points.append(after)
        values.append(value)
        slopes.append(slope)
        if int(model(after[None]).argmax()) != label:
            return after, count
        if value > values[best]:
            best = k + 1
        previous, current = now, (after, slope)
        if k + 1 in marks:
            rises = sum(new > old for old, new in _steps(values, last, k + 1, restarts))
            too_few = rises < 0.75 * (k + 1 - last)
            stuck = eta == eta_at and values[best] == best_at
            eta_at, best_at = eta, values[best]
            if too_few or stuck:
                eta /= 2
                current = (points[best], slopes[best])
                restarts[k + 1] = values[best]
            last = k + 1
    return points[best], count


def _steps(values, first, stop, restarts):
    """The losses before and after each step from ``first`` to ``stop``; after a restart, that of the best point."""
    for i in range(first, stop):
        yield restarts.get(i, values[i]), values[i + 1]
