"""Here, so that pytest lets every test import the modules of this folder."""
