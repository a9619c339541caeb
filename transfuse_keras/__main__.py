import sys

from transfuse_keras.cli import main

sys.exit(main())
