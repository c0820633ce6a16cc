import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0003_wire_format"),
    ]

    operations = [
        migrations.AddField(
            model_name="container",
            name="custom_distros_storage",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="notification",
            name="alarm_key_sha256",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
        migrations.CreateModel(
            name="CustomDistro",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("path", models.CharField(max_length=64)),
                ("note", models.TextField(blank=True, default="")),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False)),
                (
                    "container",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="stored_distros",
                        to="api.container",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AddField(
            model_name="container",
            name="custom_distro",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="users",
                to="api.customdistro",
            ),
        ),
        migrations.CreateModel(
            name="Link",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "container",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="links",
                        to="api.container",
                    ),
                ),
                (
                    "target",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="linked_by",
                        to="api.container",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Loopbox",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("filename", models.CharField(max_length=64)),
                ("mountpoint", models.CharField(max_length=255)),
                ("ro", models.BooleanField(default=False)),
                (
                    "container",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="loopboxes",
                        to="api.container",
                    ),
                ),
                ("tags", models.ManyToManyField(related_name="loopboxes", to="api.tag")),
            ],
            options={
                "verbose_name_plural": "loopboxes",
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="PortMapping",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("proto", models.CharField(max_length=3)),
                ("public_port", models.PositiveIntegerField()),
                ("private_port", models.PositiveIntegerField()),
                (
                    "container",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="port_mappings",
                        to="api.container",
                    ),
                ),
                (
                    "node",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="port_mappings",
                        to="api.node",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Alarm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("level", models.PositiveSmallIntegerField()),
                ("color", models.CharField(max_length=7)),
                ("kind", models.CharField(max_length=255, null=True)),
                ("vassal", models.CharField(max_length=255, null=True)),
                ("filename", models.CharField(max_length=255, null=True)),
                ("func", models.CharField(max_length=255, null=True)),
                ("line", models.PositiveBigIntegerField(null=True)),
                ("unix", models.PositiveBigIntegerField()),
                ("msg", models.TextField()),
                (
                    "container",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alarms",
                        to="api.container",
                    ),
                ),
            ],
            options={
                "ordering": ["-unix", "-id"],
                "indexes": [models.Index(fields=["container", "-unix"], name="alarm_by_container")],
            },
        ),
        migrations.AddConstraint(
            model_name="customdistro",
            constraint=models.UniqueConstraint(
                fields=("container", "name"), name="custom_distro_name_once_a_container"
            ),
        ),
        migrations.AddConstraint(
            model_name="customdistro",
            constraint=models.UniqueConstraint(
                fields=("container", "path"), name="custom_distro_path_once_a_container"
            ),
        ),
        migrations.AddConstraint(
            model_name="link",
            constraint=models.UniqueConstraint(fields=("container", "target"), name="link_once"),
        ),
        migrations.AddConstraint(
            model_name="loopbox",
            constraint=models.UniqueConstraint(
                fields=("container", "filename"), name="loopbox_file_once_a_container"
            ),
        ),
        migrations.AddConstraint(
            model_name="loopbox",
            constraint=models.UniqueConstraint(
                fields=("container", "mountpoint"), name="loopbox_mountpoint_once_a_container"
            ),
        ),
        migrations.AddConstraint(
            model_name="portmapping",
            constraint=models.UniqueConstraint(
                fields=("node", "proto", "public_port"), name="public_port_once_a_node"
            ),
        ),
        migrations.AddConstraint(
            model_name="portmapping",
            constraint=models.UniqueConstraint(
                fields=("container", "proto", "private_port"), name="private_port_once_a_container"
            ),
        ),
    ]
