# `transfuse serve` with the exported model of a run: without TensorFlow, not as root.
#
#   docker build -t transfuse .
#   docker run --rm -p 127.0.0.1:8080:8080 -v "$PWD/RUN:/model:ro" --read-only --tmpfs /tmp transfuse

FROM python:3.11-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(ls /wheels/transfuse_keras-*.whl)[serve,dicom]"
RUN useradd --system --no-create-home transfuse
USER transfuse
# what is kept between requests is the model alone
ENV HOME=/tmp XDG_CACHE_HOME=/tmp
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://localhost:8080/health', timeout=5)"]
ENTRYPOINT ["transfuse", "serve", "--host", "0.0.0.0", "--port", "8080"]
CMD ["--model", "/model"]
