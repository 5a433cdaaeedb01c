"""Puts the parts of the extension into a .vsix: a ZIP archive with a manifest (Open Packaging Conventions). The same parts give the same bytes."""

import json
import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

PARTS = ("package.json", "README.md", "LICENSE", "out/extension.js")
TYPES = '<?xml version="1.0" encoding="utf-8"?>\n<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">' + "".join(
    f'<Default Extension="{end}" ContentType="{kind}"/>'
    for end, kind in (("json", "application/json"), ("md", "text/markdown"), ("js", "application/javascript"), ("vsixmanifest", "text/xml"))
) + '<Override PartName="/extension/LICENSE" ContentType="text/plain"/></Types>\n'


def manifest(package: dict) -> str:
    """What installers read of an extension."""
    name, version, publisher = (quoteattr(package[key]) for key in ("name", "version", "publisher"))
    engine = quoteattr(package["engines"]["vscode"])
    return f"""<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
  <Metadata>
    <Identity Language="en-US" Id={name} Version={version} Publisher={publisher}/>
    <DisplayName>{escape(package["displayName"])}</DisplayName>
    <Description xml:space="preserve">{escape(package["description"])}</Description>
    <Categories>{escape(",".join(package["categories"]))}</Categories>
    <Properties><Property Id="Microsoft.VisualStudio.Code.Engine" Value={engine}/></Properties>
    <License>extension/LICENSE</License>
  </Metadata>
  <Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation>
  <Dependencies/>
  <Assets>
    <Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.Details" Path="extension/README.md" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.License" Path="extension/LICENSE" Addressable="true"/>
  </Assets>
</PackageManifest>
"""


def main(work: str, out: str) -> int:
    """Write the archive and print its path."""
    package = json.loads(Path(work, "package.json").read_text())
    target = Path(out, f"{package['name']}-{package['version']}.vsix")
    parts = {"extension.vsixmanifest": manifest(package).encode(), "[Content_Types].xml": TYPES.encode()}
    parts |= {f"extension/{part}": Path(work, part).read_bytes() for part in PARTS}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    sys.stdout.write(f"{target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
