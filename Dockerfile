# docker build -t mnc .                                               for CPUs
# docker build -t mnc --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 --build-arg EXTRAS=[serve,cuda] .   for NVIDIA GPUs
# docker run --rm -v $PWD:/data mnc demo photo.jpg --out pictures     (with GPUs: docker run --gpus all …)
# docker run --rm -p 127.0.0.1:8000:8000 mnc serve --host 0.0.0.0     the page at http://localhost:8000
FROM python:3.12-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=[serve]
RUN python -m venv /opt/mnc
ENV PATH=/opt/mnc/bin:$PATH
RUN pip install --no-cache-dir torch==2.13.0 --index-url ${TORCH_INDEX}
COPY . /src
RUN pip install --no-cache-dir "/src${EXTRAS}"

FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/mnc /opt/mnc
ENV PATH=/opt/mnc/bin:$PATH OMP_WAIT_POLICY=passive
WORKDIR /data
ENTRYPOINT ["mnc"]
CMD ["doctor"]
