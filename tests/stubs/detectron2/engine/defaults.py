from detectron2.engine import DefaultPredictor, DefaultTrainer

__all__ = ["DefaultPredictor", "DefaultTrainer"]
