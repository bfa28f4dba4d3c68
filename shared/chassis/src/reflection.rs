//! gRPC reflection: describes the service of this port and the health service, and no others.

use std::collections::BTreeSet;
use std::error::Error;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

/// The number of a file's field that holds its services, by which comments name them.
const SERVICES: i32 = 6;

/// `routes` plus reflection of the services with these full names, in both versions: grpcurl uses v1alpha, newer tools
/// v1.
pub fn reflected(routes: Routes, services: &[&str]) -> Result<Routes, Box<dyn Error>> {
    let files = files_of(services)?;
    let builder = || {
        Builder::configure()
            .register_file_descriptor_set(files.clone())
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Without these, tools show error details as raw bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}

/// The files that define services, and all files that they import: of these the messages, but not the services, which
/// other ports serve.
fn files_of(services: &[&str]) -> Result<FileDescriptorSet, prost::DecodeError> {
    let mut set = FileDescriptorSet::decode(proto::DESCRIPTORS)?;
    for file in &mut set.file {
        let package = file.package().to_owned();
        let is_served = |name: &str| services.contains(&format!("{package}.{name}").as_str());
        if file.service.iter().any(|it| !is_served(it.name())) {
            file.service.clear();
            // What is said of them has no place any more.
            let said = file.source_code_info.as_mut();
            if let Some(said) = said {
                said.location
                    .retain(|it| it.path.first() != Some(&SERVICES));
            }
        }
    }
    let of_service = set.file.iter().filter(|file| !file.service.is_empty());
    let mut wanted: Vec<String> = of_service.map(|file| file.name().to_owned()).collect();
    let mut kept = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let file = set.file.iter().find(|file| file.name() == name);
        if kept.insert(name)
            && let Some(file) = file
        {
            wanted.extend(file.dependency.iter().cloned());
        }
    }
    set.file.retain(|file| kept.contains(file.name()));
    Ok(set)
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorProto;

    use super::*;

    /// The names of the services of a port, whose files have all that they import.
    fn shown(services: &[&str]) -> Vec<String> {
        let set = files_of(services).unwrap();
        let names: Vec<&str> = set.file.iter().map(FileDescriptorProto::name).collect();
        for file in &set.file {
            for import in &file.dependency {
                assert!(names.contains(&import.as_str()), "{import}");
            }
        }
        let all = set.file.iter().flat_map(|file| file.service.iter());
        all.map(|it| it.name().to_owned()).collect()
    }

    #[test]
    fn a_port_shows_its_own_services_and_of_what_it_imports_no_service() {
        assert_eq!(shown(&["perdiem.plan.v1.PlanService"]), ["PlanService"]);
        let of_people = [
            "perdiem.account.v1.AccountService",
            "perdiem.account.v1.CustomerService",
        ];
        let mut services = shown(&of_people);
        services.sort_unstable();
        assert_eq!(services, ["AccountService", "CustomerService"]);
        assert!(shown(&["perdiem.none.v1.None"]).is_empty());
    }
}
