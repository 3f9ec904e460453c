"""Two objects on a table, path-traced: does same-different survive the look of the real world? (paper, Figs 9 and 10)

Scenes are rows of parameters (``scenes``), drawn so that they can be (``placement``, ``staging``), from meshes
(``library``, ``meshes``) and procedural surfaces (``textures``), and made into pixels (``rendering``, ``denoising``)
and exact masks (``masks``). The renderer's packages are an extra, and loaded only when something is rendered.
"""
