"""The whole way of a training: insert, train, calibrate, fold, prove. Stands on the torch bridge for the training."""
