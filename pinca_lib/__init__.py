"""PI-NCA: pedestrian wind between buildings from a physics-informed neural cellular automaton.

The modules, from the ground up; each imports only from those before it:

what a state is       ``errors``, ``channels``, ``devices``, ``torchvision_operators``
the rule, its laws    ``blocks``, ``frames``, ``physics``, ``automaton``, ``native``, ``lanes``,
                      ``turns``, ``kernels``, ``grids``, ``marching``, ``teams``, ``cities``,
                      ``compiled``, ``tensorcores``, ``fused``, ``rollout``
cities                ``casemeta``, ``hdf5``, ``cityfiles``, ``datasets``, ``doubts``,
                      ``urbantales``
what training needs   ``metrics``, ``texture``, ``augmentation``, ``pool``, ``losses``, ``training``
reproducible runs     ``parameters``, ``checkpoints``, ``progress``, ``runfiles``, ``runs``
how right it is       ``evaluation``, ``rivals``
how fast it is        ``contenders``, ``benchmark``
what people look at   ``plotting``, ``score_figures``, ``video``
a city being edited   ``editing``, ``healing``, ``live``, ``netcdf``, ``saving``, ``stills``
the viewer            ``panels``, ``controls``, ``cells``, ``viewer``
"""

__version__ = "0.1.0"
